# syntax=docker/dockerfile:1

FROM node:24-bookworm-slim AS web
WORKDIR /custody
# The player's driver is shared with the exported page.
COPY replay/src/encode/html replay/src/encode/html
COPY dashboards/web dashboards/web
RUN npm --prefix dashboards/web ci --no-audit --no-fund && npm --prefix dashboards/web run build

FROM rust:1.95-bookworm AS build
WORKDIR /custody
COPY . .
COPY --from=web /custody/dashboards/web/dist dashboards/web/dist
# Both caches outlive the layer: a change of source builds what it touches, not the query engine.
RUN --mount=type=cache,target=/usr/local/cargo/registry \
    --mount=type=cache,target=/cache/target \
    CARGO_TARGET_DIR=/cache/target cargo build --release --locked --bin custody \
    && cp /cache/target/release/custody /usr/local/bin/custody

FROM debian:bookworm-slim
# The sample gateways record real terminal sessions, full-screen programs among them: less, vi and ps are what they run.
RUN apt-get update \
    && apt-get install --yes --no-install-recommends ca-certificates less procps vim-tiny \
    && rm -rf /var/lib/apt/lists/* \
    && useradd --create-home --uid 10001 custody
COPY --from=build /usr/local/bin/custody /usr/local/bin/custody
USER custody
WORKDIR /home/custody
ENV LANG=C.UTF-8
EXPOSE 7878
# For `custody up` and `custody serve` on their usual port; other processes are given their own with --listen. The image
# has no HTTP client, but bash opens sockets.
HEALTHCHECK --start-period=30s --interval=15s --timeout=5s --retries=3 \
    CMD ["bash", "-c", "exec 3<>/dev/tcp/127.0.0.1/7878 && printf 'GET /healthz HTTP/1.0\\r\\nHost: localhost\\r\\n\\r\\n' >&3 && head -n 1 <&3 | grep -q ' 200 '"]
ENTRYPOINT ["custody"]
CMD ["--help"]
