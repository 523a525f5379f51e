# The command on an empty file system: one static binary, no shell, no root.
#
#   docker build -t keyfold .
#   docker run -p 127.0.0.1:8080:8080 -v keyfold:/data -e KEYFOLD_SECRET keyfold
#
# Give it 30 seconds to stop (docker stop -t 30): it lets requests finish and
# writes the last uses. compose.yaml does both.

FROM --platform=$BUILDPLATFORM golang:1.26-alpine AS build
WORKDIR /src
COPY go.mod go.sum ./
RUN go mod download
COPY . .
ARG TARGETOS TARGETARCH
RUN CGO_ENABLED=0 GOOS=$TARGETOS GOARCH=$TARGETARCH go build -trimpath -ldflags=-s -o /out/keyfold ./cmd/keyfold
RUN mkdir -m 0700 /out/data

FROM scratch
# For databases that are reached by TLS.
COPY --from=build /etc/ssl/certs/ca-certificates.crt /etc/ssl/certs/
COPY --from=build /out/keyfold /keyfold
# A new volume takes owner and mode of what it covers. SQLite needs to write
# here, also the files that it puts beside its own.
COPY --from=build --chown=65532:65532 /out/data /data
USER 65532:65532
WORKDIR /data
VOLUME ["/data"]
EXPOSE 8080
# The health check goes where this says, too.
ENV KEYFOLD_ADDR=0.0.0.0:8080
# It asks /readyz; an orchestrator that restarts unhealthy containers should ask
# /healthz instead, because a restart does not repair a database.
HEALTHCHECK --interval=30s --timeout=5s --start-period=15s --retries=3 CMD ["/keyfold", "healthcheck"]
ENTRYPOINT ["/keyfold"]
CMD ["serve"]
