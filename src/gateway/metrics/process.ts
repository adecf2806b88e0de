import { counter, gauge, labelled, type MetricFamily } from "../../base/metrics.ts";
import type { MetricsSources } from "./sources.ts";

/** The process, as far as the platform tells. */
export function processFamilies({ process, runtimeVersion, startedSeconds }: MetricsSources): MetricFamily[] {
  return [
    gauge(
      "process_resident_memory_bytes",
      "Resident memory size in bytes.",
      () => process.residentBytes(),
    ),
    counter(
      "process_cpu_seconds_total",
      "Total user and system CPU time spent in seconds.",
      () => process.cpuSeconds(),
    ),
    gauge(
      "process_start_time_seconds",
      "Start time of the process since unix epoch in seconds.",
      () => startedSeconds,
    ),
    whereKnown("gauge", "process_open_fds", "Number of open file descriptors.", () => process.openFiles()),
    whereKnown(
      "gauge",
      "process_max_fds",
      "Maximum number of open file descriptors.",
      () => process.openFilesMax(),
    ),
    whereKnown("gauge", "os_fd_used", "The number of used file descriptors.", () => process.openFiles()),
    whereKnown("gauge", "os_fd_limit", "The file descriptor limit.", () => process.openFilesMax()),
    whereKnown(
      "gauge",
      "process_virtual_memory_bytes",
      "Virtual memory size in bytes.",
      () => process.statistics()?.virtualBytes,
    ),
    // Without a limit etcd prints what the kernel does: 2^64 - 1, as a float.
    whereKnown(
      "gauge",
      "process_virtual_memory_max_bytes",
      "Maximum amount of virtual memory available in bytes.",
      () => clamp(process.statistics()?.virtualBytesMax),
    ),
    whereKnown(
      "counter",
      "process_network_receive_bytes_total",
      "Number of bytes received by the process over the network.",
      () => process.statistics()?.networkReceivedBytes,
    ),
    whereKnown(
      "counter",
      "process_network_transmit_bytes_total",
      "Number of bytes sent by the process over the network.",
      () => process.statistics()?.networkSentBytes,
    ),
    whereKnown("gauge", "go_threads", "Number of OS threads created.", () => process.statistics()?.threads),
    labelled(
      "gauge",
      "go_info",
      "Information about the Go environment.",
      () => [{ labels: { version: runtimeVersion }, value: 1 }],
    ),
  ];
}

function whereKnown(
  type: MetricFamily["type"],
  name: string,
  help: string,
  read: () => number | undefined,
): MetricFamily {
  return labelled(type, name, help, () => {
    const value = read();
    return value === undefined ? [] : [{ value }];
  });
}

function clamp(limit: number | undefined): number | undefined {
  return limit === undefined ? undefined : Math.min(limit, 2 ** 64);
}
