import { useQuery } from "@tanstack/react-query";
import { type Schemas, send } from "../api/client";
import { ApiError } from "../api/error";

/** One of a session's recordings. */
export interface Which {
  id: string;
  /** The kind of gateway, and the recording: the one with the most output where they are not given. */
  source?: string | undefined;
  channel?: string | undefined;
}

/** The address of a recording's index, to which those of its parts are relative. */
export function replayAddress({ id, source, channel }: Which): string {
  const query = new URLSearchParams();
  if (source !== undefined) query.set("source", source);
  if (channel !== undefined) query.set("channel", channel);
  const search = query.size === 0 ? "" : `?${query}`;
  return new URL(`/api/v1/sessions/${encodeURIComponent(id)}/replay${search}`, location.origin).href;
}

/** A recording that nobody has looked through yet is looked through when it is asked for: it may take a while. */
const LOOKS_MAX = 120;

/** The index of a recording. */
export function useReplay(which: Which) {
  return useQuery({
    queryKey: ["replay", which],
    queryFn: async ({ signal }) => {
      const response = await send(replayAddress(which), { signal });
      const index = (await response.json().catch(() => undefined)) as Schemas["ReplayIndex"] | undefined;
      if (!Array.isArray(index?.segments)) throw ApiError.unreadable("The server's answer is no recording.");
      return index;
    },
    staleTime: Number.POSITIVE_INFINITY,
    retry: (failures, error) => {
      const { kind, isPassing } = ApiError.from(error);
      return kind === "looking" ? failures < LOOKS_MAX : isPassing && failures < 2;
    },
    retryDelay: 1000,
  });
}
