# docker build -t orchestra .
# docker run -i --rm -v orchestra:/data -e OPENROUTER_API_KEY orchestra          MCP over stdio: never with -t
FROM python:3.13-slim AS build
WORKDIR /source
COPY pyproject.toml README.md LICENSE ./
COPY server server
COPY tools tools
RUN pip install --no-cache-dir "uv>=0.9,<1" \
    && uv venv /opt/orchestra \
    && uv pip install --no-cache --python /opt/orchestra ".[semantic]"

FROM python:3.13-slim
LABEL io.modelcontextprotocol.server.name="io.github.orchestra-router/orchestra"
RUN useradd --uid 10001 --home-dir /data --create-home --shell /usr/sbin/nologin orchestra
COPY --from=build /opt/orchestra /opt/orchestra
ENV PATH=/opt/orchestra/bin:$PATH ORCHESTRA_HOME=/data
USER 10001
WORKDIR /data
VOLUME /data
ENTRYPOINT ["orchestra"]
