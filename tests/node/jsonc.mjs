// What VS Code's own parser makes of JSONC documents: a JSON list of texts on stdin, a list of answers on stdout.
//
// Each answer is {"value": ...}, or {"error": code}.
import { parse, printParseErrorCode } from "jsonc-parser";

const chunks = [];
for await (const chunk of process.stdin) chunks.push(chunk);
const answers = JSON.parse(Buffer.concat(chunks).toString()).map((text) => {
  const errors = [];
  const value = parse(text, errors, { allowTrailingComma: true, allowEmptyContent: true });
  return errors.length ? { error: printParseErrorCode(errors[0].error) } : { value: value ?? null };
});
process.stdout.write(JSON.stringify(answers));
