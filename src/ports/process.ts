/** The process around the server. */
export interface Process {
  readonly pid: number;
  readonly platform: string;
  readonly arch: string;
  readonly runtime: { readonly name: "node" | "bun" | "deno"; readonly version: string };
  readonly env: Readonly<Record<string, string | undefined>>;
  readonly args: readonly string[];
  residentBytes(): number;
  cpuSeconds(): number;
  /** How many files the process may have open; undefined where the platform does not say. */
  openFilesMax(): number | undefined;
  /** How many files the process has open; undefined where the platform does not say. */
  openFiles(): number | undefined;
  /** What the kernel says of the process; undefined where it does not. */
  statistics(): ProcessStatistics | undefined;
  /** The address of the interface that the default route goes through; undefined without one. */
  defaultHost(): string | undefined;
  onSignal(signal: "SIGTERM" | "SIGINT", run: () => void): void;
  /** Ends the process by the signal's default action, so that the parent sees the signal. */
  raise(signal: "SIGTERM" | "SIGINT"): void;
  /**
   * Tells the service manager that started the process (systemd's `Type=notify`) that it is ready. Resolves with
   * false when there is no such manager, and rejects when it cannot be told.
   */
  notifyReady(): Promise<boolean>;
  exit(code: number): never;
  writeOut(text: string): void;
  writeErr(text: string): void;
}

export interface ProcessStatistics {
  readonly threads: number;
  readonly virtualBytes: number;
  /** Infinity without a limit. */
  readonly virtualBytesMax: number;
  /** Bytes of IP packets, of all processes of the network namespace since it began. */
  readonly networkReceivedBytes: number;
  readonly networkSentBytes: number;
}
