// A server of one file, as those are that people look at through a preview: `/{bytes}` is so many of its first bytes. Its address is the
// first line of output.
import { createReadStream } from "node:fs";
import { createServer } from "node:http";

const file = process.argv[2];
const server = createServer((request, response) => {
  const bytes = Number(request.url.slice(1));
  response.setHeader("content-length", bytes);
  createReadStream(file, { end: bytes - 1 }).pipe(response);
});
server.listen(0, "127.0.0.1", () => console.log(`http://127.0.0.1:${server.address().port}`));
