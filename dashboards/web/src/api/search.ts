import { type Schemas, send } from "./client";
import { ApiError } from "./error";

/** One line of the answer to a search. */
export type Found = Schemas["Found"];

/**
 * Searches what was on the screens of recorded sessions. Lines come as they are found; the last is `end`: without one the
 * search broke off, which is an error.
 */
export async function* search(question: Schemas["SearchQuestion"], signal?: AbortSignal): AsyncGenerator<Found> {
  const response = await send("/api/v1/search", {
    method: "POST",
    headers: { "content-type": "application/json" },
    body: JSON.stringify(question),
    ...(signal === undefined ? {} : { signal }),
  });
  let isWhole = false;
  for await (const line of lines(response)) {
    const found = JSON.parse(line) as Found;
    if ("error" in found) throw ApiError.of(new Response(null, { status: 500 }), found);
    isWhole ||= "end" in found;
    yield found;
  }
  if (!isWhole) throw ApiError.unreadable("The search broke off: what came before is not all.");
}

async function* lines(response: Response): AsyncGenerator<string> {
  const reader = response.body?.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  for (;;) {
    const { done, value } = (await reader?.read()) ?? { done: true, value: undefined };
    if (done) break;
    const [last = "", ...before] = (rest + value).split("\n").reverse();
    rest = last;
    yield* before.reverse().filter((line) => line !== "");
  }
  if (rest !== "") yield rest;
}
