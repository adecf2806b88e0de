import { textOf, utf8 } from "../base/bytes.ts";
import type { Member } from "./member.ts";

/**
 * A member as etcd writes it in JSON, in configuration changes and in its store:
 * `{"id":…,"peerURLs":[…],"isLearner":true,"name":"…","clientURLs":[…]}`, with what is empty left out.
 * The id is a bare number of 64 bits, more than a JSON number keeps in JavaScript.
 */
export function encodeMemberJson(member: Member): Uint8Array {
  const { id, peerUrls, isLearner, name, clientUrls } = member;
  const rest = JSON.stringify({
    peerURLs: peerUrls,
    ...(isLearner ? { isLearner } : {}),
    ...(name === "" ? {} : { name }),
    ...(clientUrls.length === 0 ? {} : { clientURLs: clientUrls }),
  });
  return utf8(`{"id":${id},${rest.slice(1)}`);
}

/** Throws `SyntaxError` when the bytes are no member: they come from our own log and store. */
export function decodeMemberJson(bytes: Uint8Array): Member {
  const text = textOf(bytes);
  const id = /"id":\s*(\d{1,20})/.exec(text)?.[1];
  const fields = JSON.parse(text) as Record<string, unknown>;
  if (id === undefined) throw new SyntaxError(`A member without an id: ${text.slice(0, 200)}`);
  return {
    id: BigInt(id),
    name: typeof fields["name"] === "string" ? fields["name"] : "",
    peerUrls: stringsOf(fields["peerURLs"]),
    clientUrls: stringsOf(fields["clientURLs"]),
    isLearner: fields["isLearner"] === true,
  };
}

function stringsOf(value: unknown): string[] {
  return Array.isArray(value) ? value.filter((each) => typeof each === "string") : [];
}
