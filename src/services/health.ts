import { create } from "@bufbuild/protobuf";
import {
  Health,
  HealthCheckResponse_ServingStatus as ServingStatus,
  HealthCheckResponseSchema,
  HealthListResponseSchema,
} from "../gen/grpc/health/v1/health_pb.ts";
import type { Method } from "../grpc/method.ts";
import { Code, RpcError } from "../grpc/status.ts";
import { messageCodec, streaming, unary } from "./methods.ts";

/** grpc.health.v1.Health: the server as a whole ("") is the one service it knows, and serves while it runs. */
export function healthMethods(): Method[] {
  const { check, list, watch } = Health.method;
  const serving = create(HealthCheckResponseSchema, { status: ServingStatus.SERVING });
  return [
    unary(check, messageCodec(check), ({ service }) => {
      if (service !== "") throw new RpcError(Code.NotFound, "unknown service");
      return serving;
    }),
    unary(list, messageCodec(list), () => create(HealthListResponseSchema, { statuses: { "": serving } })),
    streaming(watch, messageCodec(watch), (call) => ({
      onMessage({ service }) {
        const unknown = create(HealthCheckResponseSchema, { status: ServingStatus.SERVICE_UNKNOWN });
        call.send(service === "" ? serving : unknown);
      },
      // The watch stays open until the client leaves: the status does not change while the server runs.
      onHalfClose() {},
      onWritable() {},
      onClose() {},
    })),
  ];
}
