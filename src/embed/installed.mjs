/* What `import … from "etcd-ts"` gives on Node, where the package is one that npm installed: mod.ts. */
import { loadInstalledTypeScript } from "../runtime/strip_types.mjs";

loadInstalledTypeScript();
export const {
  Cluster,
  ConfigError,
  Election,
  EtcdError,
  KV,
  Lease,
  Lock,
  Maintenance,
  startEtcd,
  Watch,
} = await import("../../mod.ts");
