// What the parser of the AsyncAPI initiative finds wrong with a document, as JSON; nothing is an empty list.
import { readFileSync } from "node:fs";
import { Parser } from "@asyncapi/parser";

const { diagnostics } = await new Parser().parse(readFileSync(process.argv[2], "utf8"));
const found = diagnostics.map(({ code, message, path, severity }) => ({ code, message, path: path.join("/"), severity }));
console.log(JSON.stringify(found, null, 1));
