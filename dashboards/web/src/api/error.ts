/** What to do about an error, where the server does not say. */
const HINTS: Record<string, string> = {
  unreachable: "Check that `custody up`, `custody serve` or `custody demo` is running, then try again.",
  unauthenticated: "Sign in again: the session of this browser is over, or there was none.",
  forbidden: "Your role does not allow this. Ask whoever runs Custody for one that does.",
  timeout: "Ask for less: a shorter period, or fewer columns.",
  too_large: "Ask for less: a shorter period, or fewer rows.",
  store: "The ledger cannot be read at the moment. `custody doctor` says why.",
  looking: "It is being looked through at this moment. Try again in a few seconds.",
  busy: "Try again in a moment.",
  internal: "This is a defect of Custody: its log says more.",
};

const BY_STATUS: Record<number, string> = {
  401: "unauthenticated",
  403: "forbidden",
  404: "not_found",
  408: "timeout",
  413: "too_large",
  502: "unreachable",
  503: "store",
  504: "unreachable",
};

/** Everything that can go wrong between a page and the server. */
export class ApiError extends Error {
  override name = "ApiError";

  private constructor(
    /** 0 where no answer came. */
    readonly status: number,
    /** A word for programs, in the server's words where it answered. */
    readonly kind: string,
    message: string,
    /** What to do about it, if anything is known. */
    readonly hint: string | undefined,
  ) {
    super(message);
  }

  /** Of an answer that is a failure; something else on the way to the server may have given it. */
  static of(response: Response, body: unknown): ApiError {
    const said = (body as { error?: { kind?: unknown; message?: unknown; hint?: unknown } } | undefined)?.error;
    const kind = typeof said?.kind === "string" ? said.kind : (BY_STATUS[response.status] ?? "internal");
    const message =
      typeof said?.message === "string" ? said.message : `The server answered with status ${response.status}.`;
    const hint = typeof said?.hint === "string" ? said.hint : (HINTS[kind] ?? HINTS[BY_STATUS[response.status] ?? ""]);
    return new ApiError(response.status, kind, message, hint);
  }

  /** Of an answer that is not what was asked for. */
  static unreadable(message: string): ApiError {
    return new ApiError(
      200,
      "unreadable",
      message,
      "Load the page again: server and page may be of different versions.",
    );
  }

  /** Of a call to which no answer came. */
  static unreachable(): ApiError {
    return new ApiError(0, "unreachable", "The server cannot be reached.", HINTS.unreachable);
  }

  /** Of anything that was thrown. */
  static from(error: unknown): ApiError {
    if (error instanceof ApiError) return error;
    const message = error instanceof Error ? error.message : String(error);
    return new ApiError(0, "page", message, "This is a defect of the page. Load it again.");
  }

  /** Whether the same may go well in a moment. */
  get isPassing(): boolean {
    return this.kind === "unreachable" || this.status === 502 || this.status === 503 || this.status === 504;
  }
}
