import { counter, labelled, type MetricFamily, type Sample } from "../../base/metrics.ts";
import type { Route } from "../../grpc/method_table.ts";
import { codeNames } from "../../grpc/status.ts";
import type { MetricsSources } from "./sources.ts";

/** Calls by method, of every protocol. */
export function grpcFamilies({ methods, traffic }: MetricsSources): MetricFamily[] {
  const perMethod = (read: (route: Route) => number) => (): Sample[] =>
    [...methods.routes()].map((route) => ({ labels: labelsOf(route), value: read(route) }));
  return [
    labelled(
      "counter",
      "grpc_server_started_total",
      "Total number of RPCs started on the server.",
      perMethod(({ stats }) => stats.started),
    ),
    labelled(
      "counter",
      "grpc_server_msg_received_total",
      "Total number of RPC stream messages received on the server.",
      perMethod(({ stats }) => stats.received),
    ),
    labelled(
      "counter",
      "grpc_server_msg_sent_total",
      "Total number of gRPC stream messages sent by the server.",
      perMethod(({ stats }) => stats.sent),
    ),
    labelled(
      "counter",
      "grpc_server_handled_total",
      "Total number of RPCs completed on the server, regardless of success or failure.",
      () =>
        [...methods.routes()].flatMap((route) =>
          codeNames.map((name, code) => ({
            labels: { ...labelsOf(route), grpc_code: name },
            value: route.stats.handled[code]!,
          }))
        ),
    ),
    // Only with --metrics=extensive.
    labelled(
      "histogram",
      "grpc_server_handling_seconds",
      "Histogram of response latency (seconds) of gRPC that had been application-level handled by the server.",
      () =>
        [...methods.routes()].flatMap((route) => {
          const { handling } = route.stats;
          return handling === undefined ? [] : [{ labels: labelsOf(route), value: handling }];
        }),
    ),
    counter(
      "etcd_network_client_grpc_received_bytes_total",
      "The total number of bytes received from grpc clients.",
      () => traffic.receivedBytes,
    ),
    counter(
      "etcd_network_client_grpc_sent_bytes_total",
      "The total number of bytes sent to grpc clients.",
      () => traffic.sentBytes,
    ),
  ];
}

function labelsOf({ method }: Route): Record<string, string> {
  return { grpc_type: method.kind, grpc_service: method.service, grpc_method: method.name };
}
