# SPDX-License-Identifier: Apache-2.0
# docker build -f deploy/images/cpu.Dockerfile -t braid .
FROM debian:bookworm AS build
RUN apt-get update && apt-get install -y --no-install-recommends make ca-certificates && rm -rf /var/lib/apt/lists/*
WORKDIR /src
COPY . .
RUN make build && strip -o /braid build/release/braid

FROM debian:bookworm-slim
RUN apt-get update && apt-get install -y --no-install-recommends libssl3 libstdc++6 ca-certificates && rm -rf /var/lib/apt/lists/* \
 && useradd --uid 10001 --user-group --no-create-home --shell /usr/sbin/nologin braid
COPY --from=build /braid /usr/local/bin/braid
COPY models/lexicon-30m /models/lexicon-30m
USER 10001:10001
EXPOSE 8000
ENTRYPOINT ["braid"]
CMD ["serve", "/models/lexicon-30m"]
