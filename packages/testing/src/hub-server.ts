import { createHash } from "node:crypto";
import { createServer, type IncomingMessage, type Server, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";

/** What a request asked for. */
export interface Asked {
  readonly path: string;
  readonly range: string | undefined;
  readonly token: string | undefined;
}

export interface HubServer {
  readonly endpoint: string;
  /** Requests to the hub, and to the host it sends large files from. */
  readonly hub: Asked[];
  readonly cdn: Asked[];
  /** The commit that "main" is now. */
  commit: string;
  files: Record<string, Uint8Array>;
  /** Answers in place of the server when it returns true. */
  intercept: ((request: IncomingMessage, response: ServerResponse, path: string) => boolean) | undefined;
  close(): Promise<void>;
}

const hashOf = (algorithm: string, ...parts: (string | Uint8Array)[]) => {
  const hash = createHash(algorithm);
  for (const part of parts) hash.update(part);
  return hash.digest("hex");
};
export const sha256 = (bytes: Uint8Array): string => hashOf("sha256", bytes);
export const gitSha1 = (bytes: Uint8Array): string => hashOf("sha1", `blob ${bytes.length}\0`, bytes);

/**
 * A server on loopback that speaks the hub's API as far as its library uses it: a revision's commit, the tree of a commit
 * (two pages), and files, of which safetensors are large and come by a redirect from another origin.
 */
export async function serveHub(repo: string, files: Record<string, Uint8Array>): Promise<HubServer> {
  const large = (name: string) => name.endsWith(".safetensors");
  const asked = (request: IncomingMessage): Asked => ({
    path: decodeURIComponent(request.url ?? ""),
    range: request.headers.range,
    token: request.headers.authorization,
  });
  const json = (response: ServerResponse, value: unknown, status = 200) => {
    response.writeHead(status, { "content-type": "application/json" });
    response.end(JSON.stringify(value));
  };
  const send = (request: IncomingMessage, response: ServerResponse, bytes: Uint8Array) => {
    const [, from] = /^bytes=(\d+)-/.exec(request.headers.range ?? "") ?? [];
    if (from === undefined) {
      response.writeHead(200, { "content-length": bytes.length });
      return response.end(bytes);
    }
    const rest = bytes.subarray(Number(from));
    response.writeHead(206, {
      "content-length": rest.length,
      "content-range": `bytes ${from}-${bytes.length - 1}/${bytes.length}`,
    });
    return response.end(rest);
  };

  const cdn = createServer((request, response) => {
    self.cdn.push(asked(request));
    const path = decodeURIComponent(request.url ?? "");
    if (self.intercept?.(request, response, path)) return;
    send(request, response, self.files[path.slice(1)]!);
  });
  const hub = createServer((request, response) => {
    self.hub.push(asked(request));
    const url = new URL(request.url ?? "", "http://hub");
    const path = decodeURIComponent(url.pathname);
    if (self.intercept?.(request, response, path)) return;
    if (path.startsWith(`/api/models/${repo}/revision/`)) {
      const revision = path.split("/").at(-1)!;
      if (revision !== "main" && revision !== self.commit) {
        response.setHeader("x-error-code", "RevisionNotFound");
        return json(response, { error: `Invalid rev id: ${revision}` }, 404);
      }
      return json(response, { _id: "1", id: repo, sha: self.commit, lastModified: "2024-01-01T00:00:00.000Z" });
    }
    if (path === `/api/models/${repo}/tree/${self.commit}`) {
      const tree = Object.entries(self.files).map(([path, bytes]) => ({
        type: "file",
        path,
        size: bytes.length,
        oid: large(path) ? gitSha1(new TextEncoder().encode("pointer")) : gitSha1(bytes),
        ...(large(path) ? { lfs: { oid: sha256(bytes), size: bytes.length, pointerSize: 130 } } : {}),
      }));
      const page = url.searchParams.get("page");
      if (page === null) {
        response.setHeader("link", `<${self.endpoint}${path}?page=2>; rel="next"`);
        return json(response, [{ type: "directory", path: "onnx", size: 0, oid: "0" }, ...tree.slice(0, 2)]);
      }
      return json(response, tree.slice(2));
    }
    const name = path.split(`/${repo}/resolve/${self.commit}/`)[1];
    const bytes = name === undefined ? undefined : self.files[name];
    if (!bytes) return json(response, { error: "not found" }, 404);
    if (!large(name!)) return void send(request, response, bytes);
    response.writeHead(302, { location: `http://127.0.0.1:${(cdn.address() as AddressInfo).port}/${name}` });
    response.end();
  });
  const listen = async (server: Server) => {
    await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
    return `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
  };
  const self: HubServer = {
    endpoint: await listen(hub),
    hub: [],
    cdn: [],
    commit: "a".repeat(40),
    files,
    intercept: undefined,
    async close() {
      for (const server of [hub, cdn]) {
        server.closeAllConnections();
        await new Promise<void>((resolve) => server.close(() => resolve()));
      }
    },
  };
  await listen(cdn);
  return self;
}
