/**
 * Reads .proto files, proto2 and proto3, as far as names, numbers and types go. Options and reserved ranges are
 * read over. What is declared is found by its full name.
 */

export interface ProtoField {
  readonly name: string;
  readonly number: number;
  /** As written: `int64`, `KeyValue`, `mvccpb.KeyValue`, `map<string,int64>`. */
  readonly type: string;
  readonly repeated: boolean;
  readonly oneof: string | undefined;
}

export interface ProtoMethod {
  readonly name: string;
  readonly input: string;
  readonly output: string;
  readonly clientStreaming: boolean;
  readonly serverStreaming: boolean;
}

export interface ProtoDeclarations {
  readonly messages: Map<string, ProtoField[]>;
  readonly enums: Map<string, Map<string, number>>;
  readonly services: Map<string, ProtoMethod[]>;
  /** By the full name of the extended message. */
  readonly extensions: Map<string, ProtoField[]>;
}

export function emptyDeclarations(): ProtoDeclarations {
  return { messages: new Map(), enums: new Map(), services: new Map(), extensions: new Map() };
}

/** Adds what a file declares. Throws a SyntaxError on text that is not understood. */
export function parseProto(text: string, into: ProtoDeclarations): void {
  new Parser(tokens(text), into).file();
}

/** The full name that a type written inside `scope` means: the innermost that is declared. */
export function resolveType(type: string, scope: string, declared: ProtoDeclarations): string {
  if (type.startsWith(".")) return type.slice(1);
  const parts = scope.split(".");
  for (let count = parts.length; count >= 0; count -= 1) {
    const name = [...parts.slice(0, count), type].join(".");
    if (declared.messages.has(name) || declared.enums.has(name)) return name;
  }
  return type;
}

const TOKEN = /\/\/[^\n]*|\/\*[\s\S]*?\*\/|\s+|"(?:[^"\\]|\\.)*"|'(?:[^'\\]|\\.)*'|[\w.+-]+|[^\s\w]/g;

function tokens(text: string): string[] {
  return (text.match(TOKEN) ?? []).filter((token) => !/^(\/\/|\/\*|\s)/.test(token));
}

class Parser {
  readonly #tokens: readonly string[];
  readonly #into: ProtoDeclarations;
  #at = 0;

  constructor(tokens: readonly string[], into: ProtoDeclarations) {
    this.#tokens = tokens;
    this.#into = into;
  }

  file(): void {
    let scope = "";
    while (this.#at < this.#tokens.length) {
      const token = this.#next();
      if (token === "package") {
        scope = this.#next();
        this.#expect(";");
      } else if (token === "message") this.#message(scope);
      else if (token === "enum") this.#enum(scope);
      else if (token === "service") this.#service(scope);
      else if (token === "extend") this.#extend();
      else if (token !== ";") this.#skipStatement();
    }
  }

  #message(scope: string): void {
    const name = fullName(scope, this.#next());
    const fields: ProtoField[] = [];
    this.#into.messages.set(name, fields);
    this.#expect("{");
    this.#members(name, fields, undefined);
  }

  #extend(): void {
    const name = this.#next();
    const fields: ProtoField[] = [];
    this.#into.extensions.set(name, fields);
    this.#expect("{");
    this.#members(name, fields, undefined);
  }

  /** Reads to the closing brace of a message or a oneof. */
  #members(scope: string, fields: ProtoField[], oneof: string | undefined): void {
    for (let token = this.#next(); token !== "}"; token = this.#next()) {
      if (token === "message") this.#message(scope);
      else if (token === "enum") this.#enum(scope);
      else if (token === "oneof") {
        const name = this.#next();
        this.#expect("{");
        this.#members(scope, fields, name);
      } else if (["option", "reserved", "extensions"].includes(token)) this.#skipStatement();
      else if (token !== ";") fields.push(this.#field(token, oneof));
    }
  }

  #field(first: string, oneof: string | undefined): ProtoField {
    const labelled = ["optional", "required", "repeated"].includes(first);
    let type = labelled ? this.#next() : first;
    if (type === "map") {
      this.#expect("<");
      const key = this.#next();
      this.#expect(",");
      type = `map<${key},${this.#next()}>`;
      this.#expect(">");
    }
    const name = this.#next();
    this.#expect("=");
    const number = this.#number();
    this.#skipStatement();
    return { name, number, type, repeated: first === "repeated", oneof };
  }

  #enum(scope: string): void {
    const values = new Map<string, number>();
    this.#into.enums.set(fullName(scope, this.#next()), values);
    this.#expect("{");
    for (let token = this.#next(); token !== "}"; token = this.#next()) {
      if (token === "option" || token === "reserved") this.#skipStatement();
      else if (token !== ";") {
        this.#expect("=");
        values.set(token, this.#number());
        this.#skipStatement();
      }
    }
  }

  #service(scope: string): void {
    const methods: ProtoMethod[] = [];
    this.#into.services.set(fullName(scope, this.#next()), methods);
    this.#expect("{");
    for (let token = this.#next(); token !== "}"; token = this.#next()) {
      if (token === "option") this.#skipStatement();
      else if (token === "rpc") {
        const name = this.#next();
        const [input, clientStreaming] = this.#methodType();
        this.#expect("returns");
        const [output, serverStreaming] = this.#methodType();
        this.#skipStatement();
        methods.push({ name, input, output, clientStreaming, serverStreaming });
      } else if (token !== ";") throw new SyntaxError(`Expected "rpc", got "${token}"`);
    }
  }

  #methodType(): [type: string, streaming: boolean] {
    this.#expect("(");
    const first = this.#next();
    const streaming = first === "stream";
    const type = streaming ? this.#next() : first;
    this.#expect(")");
    return [type, streaming];
  }

  /** Reads over the rest of a statement: to its semicolon, or over the block that ends it. */
  #skipStatement(): void {
    let depth = 0;
    for (let token = this.#next();; token = this.#next()) {
      if (token === "{" || token === "[") depth += 1;
      else if (token === "}" || token === "]") depth -= 1;
      if (depth === 0 && (token === ";" || token === "}")) return;
    }
  }

  #number(): number {
    const token = this.#next();
    const number = Number(token);
    if (!Number.isInteger(number)) throw new SyntaxError(`Expected a number, got "${token}"`);
    return number;
  }

  #next(): string {
    const token = this.#tokens[this.#at++];
    if (token === undefined) throw new SyntaxError("Unexpected end of file");
    return token;
  }

  #expect(wanted: string): void {
    const token = this.#next();
    if (token !== wanted) throw new SyntaxError(`Expected "${wanted}", got "${token}"`);
  }
}

function fullName(scope: string, name: string): string {
  return scope === "" ? name : `${scope}.${name}`;
}
