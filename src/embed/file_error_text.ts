import type { FileError } from "../ports/files.ts";

/** Go's words for what the system calls say, which people know from etcd. */
const texts: Readonly<Record<string, string>> = {
  EACCES: "permission denied",
  EISDIR: "is a directory",
  ENOENT: "no such file or directory",
  ENOSPC: "no space left on device",
  ENOTDIR: "not a directory",
  EPERM: "operation not permitted",
  EROFS: "read-only file system",
};

/** Why a file could not be used, as etcd says it behind the path. */
export function fileErrorText(error: FileError): string {
  const code = (error.cause as { readonly code?: string } | undefined)?.code;
  return texts[code ?? ""] ?? error.message;
}
