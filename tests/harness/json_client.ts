/** A client of the JSON gateway: one connection per request, streams read line by line. */
import { request } from "node:http";
import { WAIT_MS_MAX } from "./deadline.ts";

export interface JsonReply {
  readonly status: number;
  readonly contentType: string;
  readonly body: string;
}

export interface JsonRequestOptions {
  readonly method?: string;
  readonly headers?: Readonly<Record<string, string>>;
  /** The reply is broken off after this many lines. */
  readonly lines?: number;
}

/**
 * JSON without what differs between builds of the same etcd. Go's protojson puts a space behind every comma or behind
 * none, and in its errors one or the other kind of space, as a hash of the program decides.
 */
export function withoutSpaces(json: string): string {
  return json.replace(/("(?:[^"\\\n]|\\.)*")|, (?=[{["\dtfn-])/g, (_, text?: string) => text ?? ",")
    .replace(/(?<=proto:)\u00a0/g, " ");
}

/** Sends one request and resolves with the whole reply. */
export function postJson(
  port: number,
  path: string,
  body: string | Uint8Array,
  { method = "POST", headers = {}, lines = Infinity }: JsonRequestOptions = {},
): Promise<JsonReply> {
  return new Promise((resolve, reject) => {
    const outgoing = request({ host: "127.0.0.1", port, path, method, headers, agent: false }, (response) => {
      let text = "";
      const done = (): void => {
        clearTimeout(timer);
        resolve({
          status: response.statusCode!,
          contentType: response.headers["content-type"] ?? "",
          body: text,
        });
      };
      response.setEncoding("utf8");
      response.on("data", (chunk: string) => {
        text += chunk;
        if (text.split("\n").length <= lines) return;
        done();
        outgoing.destroy();
      });
      response.on("end", done);
      response.on("error", reject);
    });
    const timer = setTimeout(() => outgoing.destroy(new Error(`${path}: no answer`)), WAIT_MS_MAX);
    outgoing.on("error", (error) => {
      clearTimeout(timer);
      reject(error);
    });
    outgoing.end(body);
  });
}
