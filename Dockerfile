# The image of `make image`, for those who have a container engine: the same program, files and user.
#   docker build --build-arg SOURCE_DATE_EPOCH=$(git log -1 --format=%ct) -t video-token-operator .
FROM rust:1.95-bookworm AS build
RUN apt-get update && apt-get install --yes --no-install-recommends ca-certificates cmake && rm -rf /var/lib/apt/lists/*
WORKDIR /source
COPY . .
RUN image/rootfs.sh "$(image/build-binary.sh)" /rootfs

FROM scratch
COPY --from=build /rootfs/ /
USER 65532:65532
ENTRYPOINT ["/video-token-operator"]
