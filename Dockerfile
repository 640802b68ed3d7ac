# docker build -t orchestra .
# MCP over stdio, never with -t:
#   docker run -i --rm -v orchestra:/data -e OPENROUTER_API_KEY orchestra
# HTTP, for this machine only, with an access key, without which it does not begin:
#   docker run --rm -v orchestra:/data orchestra keys create NAME
#   docker run -p 127.0.0.1:8765:8765 -v orchestra:/data -e OPENROUTER_API_KEY -e ORCHESTRA_HTTP_HOSTS=localhost \
#     orchestra serve --http 0.0.0.0:8765
FROM python:3.13-slim AS build
WORKDIR /source
COPY pyproject.toml README.md LICENSE ./
COPY server server
COPY tools tools
# Compiled here: who runs it may not write, and would compile it all at each start.
RUN pip install --no-cache-dir "uv>=0.9,<1" \
    && uv venv /opt/orchestra \
    && uv pip install --no-cache --compile-bytecode --python /opt/orchestra ".[semantic]"

FROM python:3.13-slim
LABEL io.modelcontextprotocol.server.name="io.github.orchestra-router/orchestra"
RUN useradd --uid 10001 --home-dir /data --create-home --shell /usr/sbin/nologin orchestra
COPY --from=build /opt/orchestra /opt/orchestra
ENV PATH=/opt/orchestra/bin:$PATH ORCHESTRA_HOME=/data
USER 10001
WORKDIR /data
VOLUME /data
EXPOSE 8765
# Over stdio there is nothing to ask: the client sees by itself whether it is answered.
HEALTHCHECK --interval=30s --timeout=5s --start-period=10s CMD ["python", "-c", \
    "import pathlib, urllib.request as u; b'--http' in pathlib.Path('/proc/1/cmdline').read_bytes() and u.urlopen('http://127.0.0.1:8765/health/live', timeout=3)"]
ENTRYPOINT ["orchestra"]
