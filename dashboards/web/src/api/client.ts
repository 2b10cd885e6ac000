import { QueryClient } from "@tanstack/react-query";
import createClient from "openapi-fetch";
import { ApiError } from "./error";
import { exactJson } from "./json";
import type { components, paths } from "./schema";

/** Types of the API by name, as the server's OpenAPI document describes them. */
export type Schemas = components["schemas"];

/** The API: paths, parameters and answers are typed by the server's OpenAPI document. */
export const api = createClient<paths>({ baseUrl: "" });

/** The answer of a call of the API. Whatever goes wrong is an `ApiError`. */
export async function answer<T>(call: Promise<{ data?: T; error?: unknown; response: Response }>): Promise<T> {
  const { data, error, response } = await call.catch(rethrow);
  if (!response.ok || data === undefined) throw ApiError.of(response, error);
  return data;
}

/** Calls that the OpenAPI document describes no answer of: streams, rows of SQL, files. */
export async function send(path: string, init?: RequestInit): Promise<Response> {
  const response = await fetch(path, { credentials: "same-origin", ...init }).catch(rethrow);
  if (!response.ok) throw ApiError.of(response, await response.json().catch(() => undefined));
  return response;
}

/** The same of an answer with whole numbers that a number of the browser cannot keep: they come as text. */
export async function exactly<T>(path: string, signal?: AbortSignal): Promise<T> {
  const response = await send(path, signal === undefined ? {} : { signal });
  const read = await response
    .text()
    .then(exactJson)
    .catch((thrown: unknown) => {
      if (thrown instanceof SyntaxError) throw ApiError.unreadable("The server's answer cannot be read.");
      throw thrown;
    });
  return read as T;
}

/** Why a call has no answer: it was given up, the answer is no JSON, or none came (which `fetch` calls a `TypeError`). */
function rethrow(thrown: unknown): never {
  if (thrown instanceof DOMException && thrown.name === "AbortError") throw thrown;
  if (thrown instanceof SyntaxError) throw ApiError.unreadable("The server's answer cannot be read.");
  throw ApiError.unreachable();
}

export const queryClient = new QueryClient({
  defaultOptions: {
    queries: {
      retry: (failures, error) => failures < 2 && ApiError.from(error).isPassing,
      retryDelay: (failures) => 300 * 2 ** failures,
      staleTime: 5_000,
      // Every question is written down by the server: none is asked again because a window was looked at.
      refetchOnWindowFocus: false,
      // The browser does not know whether a server on this machine can be reached.
      networkMode: "always",
    },
    mutations: { networkMode: "always" },
  },
});
