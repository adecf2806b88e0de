import type { Process } from "../ports/process.ts";

/** The commit this was built from. There is no build that could put it here. */
export const GIT_SHA = "Not provided";

/** "node24.21.0": what stands where etcd has the version of Go. */
export function runtimeVersion({ runtime }: Pick<Process, "runtime">): string {
  return runtime.name + runtime.version.replace(/^v/, "");
}

/** The processor by Go's name. */
export function goArch(arch: string): string {
  return ({ x64: "amd64", ia32: "386", ppc64: "ppc64le" } as Record<string, string>)[arch] ?? arch;
}
