# The image of `make image`, for those who have a container engine: the same program, files and user.
#   docker build --build-arg SOURCE_DATE_EPOCH=$(git log -1 --format=%ct) -t video-token-operator .
# For both architectures, compiled on this machine's:
#   docker buildx build --platform linux/amd64,linux/arm64 -t registry.example.com/video-token-operator --push .
# With AWS-LC's FIPS module, on this machine's architecture: --build-arg FIPS=1, as docs/how-to/fips.md describes.
FROM --platform=$BUILDPLATFORM rust:1.95-bookworm AS build
ARG TARGETARCH
ARG FIPS
RUN native=$(dpkg --print-architecture); case ${TARGETARCH:=$native} in \
      "$native") compiler= ;; \
      arm64) compiler="g++-aarch64-linux-gnu libc6-dev-arm64-cross"; rustup target add aarch64-unknown-linux-gnu ;; \
      amd64) compiler="g++-x86-64-linux-gnu libc6-dev-amd64-cross"; rustup target add x86_64-unknown-linux-gnu ;; \
      *) echo "no image for $TARGETARCH" >&2; exit 1 ;; \
    esac; \
    apt-get update && apt-get install --yes --no-install-recommends ca-certificates cmake ${FIPS:+golang} $compiler && rm -rf /var/lib/apt/lists/*
WORKDIR /source
COPY . .
RUN image/rootfs.sh "$(ARCHITECTURE=$TARGETARCH image/build-binary.sh)" /rootfs

FROM scratch
COPY --from=build /rootfs/ /
USER 65532:65532
ENTRYPOINT ["/video-token-operator"]
