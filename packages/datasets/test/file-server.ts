import { createServer, type IncomingMessage, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";

export interface FileServer {
  /** Base address, with a slash at its end. */
  readonly base: string;
  /** The requests so far: path and range. */
  readonly requests: { path: string; range: string | undefined; ifRange: string | undefined }[];
  close(): Promise<void>;
}

/** A real HTTP server on loopback. */
export async function serve(
  handler: (req: IncomingMessage, res: ServerResponse, n: number) => void,
): Promise<FileServer> {
  const requests: FileServer["requests"] = [];
  const server = createServer((req, res) => {
    requests.push({ path: req.url ?? "", range: req.headers.range, ifRange: req.headers["if-range"] as string });
    handler(req, res, requests.length);
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const { port } = server.address() as AddressInfo;
  return {
    base: `http://127.0.0.1:${port}/`,
    requests,
    close: () =>
      new Promise((resolve) => {
        server.closeAllConnections();
        server.close(() => resolve());
      }),
  };
}

export interface SendOptions {
  readonly etag?: string;
  /** Cuts the connection after this many bytes of the answer. */
  readonly cutAfter?: number;
}

/** Sends a body the way a good file server does: with ETag, Range and If-Range. */
export function send(req: IncomingMessage, res: ServerResponse, body: Uint8Array, options: SendOptions = {}): void {
  const { etag = '"v1"', cutAfter } = options;
  const wanted = /^bytes=(\d+)-$/.exec(req.headers.range ?? "");
  const ifRange = req.headers["if-range"];
  const start = wanted !== null && (ifRange === undefined || ifRange === etag) ? Number(wanted[1]) : 0;
  const rest = body.subarray(start);
  res.setHeader("etag", etag);
  res.setHeader("content-length", rest.length);
  if (start > 0) {
    res.statusCode = 206;
    res.setHeader("content-range", `bytes ${start}-${body.length - 1}/${body.length}`);
  }
  if (cutAfter === undefined) res.end(rest);
  else res.write(rest.subarray(0, cutAfter), () => setTimeout(() => res.destroy(), 20));
}

/** A port on loopback that nothing listens on. */
export async function closedPort(): Promise<string> {
  const server = await serve((_req, res) => res.end());
  await server.close();
  return server.base;
}
