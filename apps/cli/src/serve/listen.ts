import type { Server } from "node:http";
import type { AddressInfo } from "node:net";
import { serve } from "@hono/node-server";
import { UsageError } from "../exit-code.ts";
import type { ServeApp } from "./app.ts";

export interface RunningServer {
  /** Such as http://127.0.0.1:8080 */
  readonly url: string;
  /**
   * Takes no more requests, waits until those under way are answered, ends those that are not after `graceSeconds`, and
   * closes all connections.
   */
  close(graceSeconds: number): Promise<void>;
}

/** Answers requests over HTTP. @throws UsageError if the address is taken or cannot be had. */
export async function listen(app: ServeApp, host: string, port: number): Promise<RunningServer> {
  const server = serve({
    fetch: (request, env) => app.fetch(request, env),
    hostname: host,
    port,
    // Others in this program keep the platform's own Request and Response.
    overrideGlobalObjects: false,
  }) as Server;
  await new Promise<void>((resolve, reject) => {
    server.once("listening", resolve);
    server.once("error", (error: NodeJS.ErrnoException) => reject(new UsageError(whyNot(error, host, port))));
  });
  const address = server.address() as AddressInfo;
  const shown = address.family === "IPv6" ? `[${address.address}]` : address.address;
  return {
    url: `http://${shown}:${address.port}`,
    async close(graceSeconds) {
      app.close();
      const closed = new Promise<void>((resolve) => server.close(() => resolve()));
      server.closeIdleConnections();
      const until = Date.now() + graceSeconds * 1000;
      while (app.active > 0 && Date.now() < until) await pause(20);
      app.abortActive();
      // Time for the last events of streams to leave.
      const hardEnd = Date.now() + 1000;
      while (app.active > 0 && Date.now() < hardEnd) await pause(20);
      await pause(20);
      server.closeAllConnections();
      await closed;
    },
  };
}

const pause = (milliseconds: number) => new Promise<void>((resolve) => setTimeout(resolve, milliseconds));

function whyNot({ code, message }: NodeJS.ErrnoException, host: string, port: number): string {
  if (code === "EADDRINUSE") return `Port ${port} of ${host} is in use; choose another with --port, or 0 for any`;
  if (code === "EACCES") return `Port ${port} is for administrators only; choose one above 1023 with --port`;
  if (code === "EADDRNOTAVAIL" || code === "ENOTFOUND") return `This machine has no address ${host}; choose --host`;
  return `The server cannot listen on ${host}:${port}: ${message}`;
}
