import type { MethodTable } from "../../grpc/method_table.ts";
import type { TrafficCounter } from "../../grpc/server.ts";
import type { Process } from "../../ports/process.ts";
import type { EtcdServer } from "../../server/server.ts";
import type { ClientRequests } from "../../services/admission.ts";

/** Where metrics are read. */
export interface MetricsSources {
  readonly server: EtcdServer;
  readonly methods: MethodTable;
  readonly process: Process;
  readonly traffic: TrafficCounter;
  readonly clientRequests: ClientRequests;
  readonly features: readonly { readonly name: string; readonly stage: string; readonly enabled: boolean }[];
  /** "node24.21.0", where etcd has the version of Go. */
  readonly runtimeVersion: string;
  /** Seconds since 1970 at which the process began. */
  readonly startedSeconds: number;
}
