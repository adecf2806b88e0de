/**
 * What a set of protocol buffers declares, as one line of text for each name, so that two sets can be compared:
 * ours, as the generated descriptors have it, and that of .proto files from elsewhere.
 */
import {
  type DescEnum,
  type DescExtension,
  type DescField,
  type DescFile,
  type DescMessage,
  ScalarType,
} from "@bufbuild/protobuf";
import { type ProtoDeclarations, resolveType } from "./proto_parser.ts";

/** By full name: a number and a type, or the types of an RPC. */
export type ProtoFacts = Map<string, string>;

export function factsOfDeclarations(declared: ProtoDeclarations): ProtoFacts {
  const facts: ProtoFacts = new Map();
  const typeIn = (scope: string, type: string) => resolveType(type, scope, declared);
  for (const [message, fields] of declared.messages) {
    facts.set(message, "message");
    for (const { name, number, type, repeated, oneof } of fields) {
      facts.set(`${message}.${name}`, fieldFact(number, typeIn(message, type), repeated, oneof));
    }
  }
  for (const [name, values] of declared.enums) {
    facts.set(name, "enum");
    for (const [value, number] of values) facts.set(`${name}.${value}`, String(number));
  }
  for (const [service, methods] of declared.services) {
    facts.set(service, "service");
    for (const { name, input, output, clientStreaming, serverStreaming } of methods) {
      const from = typeIn(service, input);
      const to = typeIn(service, output);
      facts.set(`${service}.${name}`, methodFact(from, to, clientStreaming, serverStreaming));
    }
  }
  for (const [extended, fields] of declared.extensions) {
    for (const { name, number, type, repeated } of fields) {
      facts.set(`${extended}.(${name})`, fieldFact(number, type, repeated, undefined));
    }
  }
  return facts;
}

export function factsOfDescriptors(files: readonly DescFile[]): ProtoFacts {
  const facts: ProtoFacts = new Map();
  for (const file of files) {
    for (const message of file.messages) addMessage(facts, message);
    for (const enumeration of file.enums) addEnum(facts, enumeration);
    for (const extension of file.extensions) {
      const fact = fieldFact(
        extension.number,
        valueType(extension),
        extension.fieldKind === "list",
        undefined,
      );
      facts.set(`${extension.extendee.typeName}.(${extension.name})`, fact);
    }
    for (const service of file.services) {
      facts.set(service.typeName, "service");
      for (const { name, input, output, methodKind } of service.methods) {
        const clientStreaming = methodKind === "client_streaming" || methodKind === "bidi_streaming";
        const serverStreaming = methodKind === "server_streaming" || methodKind === "bidi_streaming";
        const fact = methodFact(input.typeName, output.typeName, clientStreaming, serverStreaming);
        facts.set(`${service.typeName}.${name}`, fact);
      }
    }
  }
  return facts;
}

function addMessage(facts: ProtoFacts, message: DescMessage): void {
  facts.set(message.typeName, "message");
  for (const field of message.fields) {
    const fact = fieldFact(field.number, typeOf(field), field.fieldKind === "list", field.oneof?.name);
    facts.set(`${message.typeName}.${field.name}`, fact);
  }
  for (const nested of message.nestedMessages) addMessage(facts, nested);
  for (const nested of message.nestedEnums) addEnum(facts, nested);
}

function addEnum(facts: ProtoFacts, enumeration: DescEnum): void {
  facts.set(enumeration.typeName, "enum");
  for (const { name, number } of enumeration.values) {
    facts.set(`${enumeration.typeName}.${name}`, String(number));
  }
}

function typeOf(field: DescField): string {
  if (field.fieldKind === "map") return `map<${scalarName(field.mapKey)},${valueType(field)}>`;
  return valueType(field);
}

function valueType(field: DescField | DescExtension): string {
  return field.message?.typeName ?? field.enum?.typeName ?? scalarName(field.scalar!);
}

function scalarName(scalar: ScalarType): string {
  return ScalarType[scalar].toLowerCase();
}

function fieldFact(number: number, type: string, repeated: boolean, oneof: string | undefined): string {
  return `${number} ${repeated ? "repeated " : ""}${type}${oneof === undefined ? "" : ` in oneof ${oneof}`}`;
}

function methodFact(
  input: string,
  output: string,
  clientStreaming: boolean,
  serverStreaming: boolean,
): string {
  return `(${clientStreaming ? "stream " : ""}${input}) returns (${
    serverStreaming ? "stream " : ""
  }${output})`;
}
