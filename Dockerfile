# syntax=docker/dockerfile:1

FROM rust:1.95-bookworm AS build
WORKDIR /custody
COPY . .
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
ENTRYPOINT ["custody"]
CMD ["--help"]
