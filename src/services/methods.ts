import {
  type DescMessage,
  type DescMethod,
  fromBinary,
  type MessageShape,
  toBinary,
} from "@bufbuild/protobuf";
import type { ByteWriter } from "../base/byte_writer.ts";
import type {
  CallContext,
  Reply,
  StreamCall,
  StreamConsumer,
  StreamMethod,
  UnaryMethod,
} from "../grpc/method.ts";

/** Deepest nesting of messages accepted: a transaction may nest some 127 times, two messages each. */
export const NESTING_MAX = 300;

/** How the messages of a method are read and written. */
export interface Codec<I, O> {
  readonly decode: (bytes: Uint8Array, start: number, end: number) => I;
  readonly encode: (out: ByteWriter, reply: O) => void;
}

/** protobuf-es in both directions: for methods that are not on the hot path. */
export function messageCodec<I extends DescMessage, O extends DescMessage>(
  method: DescMethod & { readonly input: I; readonly output: O },
): Codec<MessageShape<I>, MessageShape<O>> {
  const { input, output } = method;
  return {
    decode: (bytes, start, end) =>
      fromBinary(input, bytes.subarray(start, end), { recursionLimit: NESTING_MAX }),
    encode: (out, reply) => out.write(toBinary(output, reply)),
  };
}

export function unary<I, O>(
  method: DescMethod,
  codec: Codec<I, O>,
  handle: (request: I, context: CallContext) => Reply<O>,
): UnaryMethod<I, O> {
  return {
    kind: "unary",
    service: method.parent.typeName,
    name: method.name,
    decode: codec.decode,
    encode: codec.encode,
    handle,
  };
}

export function streaming<I, O>(
  method: DescMethod,
  codec: Codec<I, O>,
  open: (call: StreamCall<O>) => StreamConsumer<I>,
  waitingBytesMax?: number,
): StreamMethod<I, O> {
  return {
    kind: streamKinds[method.methodKind as keyof typeof streamKinds],
    service: method.parent.typeName,
    name: method.name,
    decode: codec.decode,
    encode: codec.encode,
    waitingBytesMax,
    open,
  };
}

const streamKinds = {
  client_streaming: "client_stream",
  server_streaming: "server_stream",
  bidi_streaming: "bidi_stream",
} as const;
