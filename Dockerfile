# Two stages: the first has the compiler, the second the binary and git. docs/image.md describes how to run it.

FROM rust:1.95-slim-bookworm AS build
WORKDIR /build
COPY . .
RUN --mount=type=cache,target=/usr/local/cargo/registry \
    --mount=type=cache,target=/build/target \
    cargo build --locked --profile dist --package headwater --bin headwater \
    && cp target/dist/headwater /headwater

FROM debian:bookworm-slim
RUN apt-get update \
    && apt-get install --yes --no-install-recommends ca-certificates git openssh-client \
    && echo 'headwater:x:65532:65532::/:/usr/sbin/nologin' >> /etc/passwd \
    && install -d -m 700 -o 65532 -g 65532 /data \
    && rm -rf /var/lib/apt/lists/* /var/cache/apt /var/log/apt /var/log/dpkg.log
COPY --from=build /headwater /usr/local/bin/headwater
COPY --chmod=755 scripts/headwater-healthy /usr/local/bin/headwater-healthy

# A number, so that orchestrators can verify that it is not root. The image works with a read-only root.
USER 65532:65532
WORKDIR /
ENV HOME=/tmp \
    HEADWATER_LISTEN=0.0.0.0:8888 \
    HEADWATER_SOURCE=/config
EXPOSE 8888
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=10s --timeout=6s --start-period=30s --retries=3 CMD ["headwater-healthy"]
ENTRYPOINT ["headwater"]
CMD ["serve"]
