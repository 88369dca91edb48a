import { ApiError, clientClosed, toApiError } from "./api-error.ts";

/** What is left of an async generator that somebody else may have begun. */
export type Values<T> = Pick<AsyncGenerator<T, void>, "next" | "return">;

/**
 * Server-sent events, one for each value, and `[DONE]` behind the last, as OpenAI's clients read them. An error becomes an
 * event, since the status is sent by then.
 *
 * @param onEnd called once, with an error if there was one, such as that the client has gone
 */
export function eventStream(values: Values<unknown>, onEnd: (error?: ApiError) => void): Response {
  const encoder = new TextEncoder();
  const event = (data: string) => encoder.encode(`data: ${data}\n\n`);
  const body = new ReadableStream<Uint8Array>(
    {
      async pull(controller) {
        try {
          const { done, value } = await values.next();
          if (!done) {
            controller.enqueue(event(JSON.stringify(value)));
            return;
          }
          controller.enqueue(event("[DONE]"));
          onEnd();
        } catch (error) {
          const answer = toApiError(error);
          controller.enqueue(event(JSON.stringify(answer.body)));
          onEnd(answer);
        }
        controller.close();
      },
      async cancel() {
        onEnd(new ApiError(clientClosed, "The client closed the stream."));
        await values.return();
      },
    },
    { highWaterMark: 0 },
  );
  return new Response(body, {
    headers: {
      "content-type": "text/event-stream; charset=utf-8",
      "cache-control": "no-cache",
      // Proxies such as nginx would keep what is to be seen at once.
      "x-accel-buffering": "no",
    },
  });
}

/** Makes the first value, so that an error before it can have a status of its own. */
export async function begun<T>(values: AsyncGenerator<T, void>): Promise<Values<T>> {
  let first: IteratorResult<T, void> | undefined = await values.next();
  return {
    async next() {
      const result = first ?? (await values.next());
      first = undefined;
      return result;
    },
    return: () => values.return(),
  };
}
