// Writes src/api/schema.ts from api/openapi.json before each build: one type per schema, so that a field that goes away breaks
// the build.
import { readFileSync, writeFileSync } from "node:fs";

const root = new URL("..", import.meta.url);
const { components } = JSON.parse(readFileSync(new URL("../openapi.json", root), "utf8"));
const names = { string: "string", integer: "number", number: "number", boolean: "boolean", null: "null", object: "Record<string, unknown>" };

function type(schema) {
  if (schema.$ref) return schema.$ref.split("/").at(-1);
  const several = schema.oneOf ?? schema.anyOf;
  if (several) return several.map(type).join(" | ");
  if (schema.enum) return schema.enum.map((value) => JSON.stringify(value)).join(" | ");
  const kinds = [schema.type ?? []].flat();
  if (kinds.length === 0) return "unknown";
  return kinds.map((kind) => {
    if (kind === "array") return `Array<${type(schema.items ?? {})}>`;
    if (kind === "object" && schema.additionalProperties?.type) return `Record<string, ${type(schema.additionalProperties)}>`;
    return names[kind];
  }).join(" | ");
}

const lines = ["// Made from api/openapi.json by scripts/types.mjs.", ""];
for (const [name, schema] of Object.entries(components.schemas)) {
  if (schema.description) lines.push(`/** ${schema.description.replaceAll("*/", "*\\/")} */`);
  if (!schema.properties) {
    lines.push(`export type ${name} = ${type(schema)};`, "");
    continue;
  }
  lines.push(`export interface ${name} {`);
  for (const [field, value] of Object.entries(schema.properties)) {
    if (value.description) lines.push(`  /** ${value.description.replaceAll("*/", "*\\/")} */`);
    const absent = schema.required?.includes(field) ? "" : "?";
    lines.push(`  ${field}${absent}: ${type(value)};`);
  }
  lines.push("}", "");
}
writeFileSync(new URL("src/api/schema.ts", root), lines.join("\n"));
