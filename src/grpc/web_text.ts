import { ByteWriter } from "../base/byte_writer.ts";
import { bytesOfBinaryString } from "../base/binary_string.ts";
import { encodeBase64 } from "../base/base64.ts";

const TEXT = /^application\/grpc-web-text(?=$|[+;])/;
/** A body may be put together of parts that are padded each for itself. */
const PARTS = /[A-Za-z0-9+/]+={0,2}/g;
/** base64 takes four bytes for three; the rest is for prefixes and padding. */
const TEXT_BYTES_RATIO = 1.5;
const TEXT_BYTES_OVERHEAD = 1024;

/** Whether a content type is that of gRPC-Web's text mode, in which bodies are base64 (grpc/grpc, PROTOCOL-WEB.md). */
export function isWebText(contentType: string | undefined): boolean {
  return contentType !== undefined && TEXT.test(contentType);
}

/**
 * Serves a request in text mode by who serves binary ones. Its body is read whole: no browser streams one. One that
 * is no base64 gets status 400, one of more than `receiveBytesMax` 413.
 */
export async function serveWebText(
  request: Request,
  receiveBytesMax: number,
  serve: (request: Request) => Promise<Response>,
): Promise<Response> {
  const text = await readText(request, receiveBytesMax * TEXT_BYTES_RATIO + TEXT_BYTES_OVERHEAD);
  if (text === undefined) return new Response("The body is too large\n", { status: 413 });
  const body = decode(text);
  if (body === undefined) return new Response("The body is no base64\n", { status: 400 });
  const headers = new Headers(request.headers);
  const type = headers.get("content-type")!;
  headers.delete("content-length");
  headers.set("content-type", type.replace(TEXT, "application/grpc-web"));
  const { url, method, signal } = request;
  const response = await serve(new Request(url, { method, headers, signal, body }));
  if (!(response.headers.get("content-type") ?? "").startsWith("application/grpc-web")) return response;
  const { status } = response;
  const encoded = new Response(response.body?.pipeThrough(encoder()) ?? null, {
    status,
    headers: response.headers,
  });
  encoded.headers.set("content-type", type);
  return encoded;
}

async function readText({ body }: Request, bytesMax: number): Promise<string | undefined> {
  if (body === null) return "";
  const decoder = new TextDecoder();
  let text = "";
  for await (const chunk of body) {
    text += decoder.decode(chunk, { stream: true });
    if (text.length > bytesMax) return undefined;
  }
  return text;
}

function decode(text: string): Uint8Array<ArrayBuffer> | undefined {
  let binary = "";
  let length = 0;
  for (const [part] of text.matchAll(PARTS)) {
    if (part.length % 4 !== 0) return undefined;
    binary += atob(part);
    length += part.length;
  }
  return length === text.length ? bytesOfBinaryString(binary) as Uint8Array<ArrayBuffer> : undefined;
}

function encoder(): TransformStream<Uint8Array, Uint8Array> {
  return new TransformStream({
    transform(chunk, controller) {
      const out = new ByteWriter(chunk.length * 2);
      encodeBase64(out, chunk, 0, chunk.length);
      controller.enqueue(out.bytes.subarray(0, out.length));
    },
  });
}
