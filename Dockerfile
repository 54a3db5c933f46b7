# Tessera's image.
#
#   docker build --tag tessera:local .
#   docker run --publish 127.0.0.1:8000:8000 --volume tessera:/var/lib/tessera \
#     --env TESSERA_SECRET_KEY --env TESSERA_MAIL_URL --env TESSERA_PUBLIC_URL=https://id.example.com \
#     --init tessera:local
#
# and once before it, and after every upgrade, the same with `migrate` at the end (compose.yaml does both).

# A tag moves; a release should name the digest that it was tried with:
#   --build-arg BASE=python:3.13-slim-trixie@sha256:...
# Any base with glibc, a shell, useradd and Python 3.11 or newer does.
ARG BASE=python:3.13-slim-trixie


# The builder is thrown away: what is only needed to install never reaches the image.
FROM ${BASE} AS builder

# A cache would only fill a layer that nobody keeps.
ENV PIP_NO_CACHE_DIR=1 \
    PIP_DISABLE_PIP_VERSION_CHECK=1

WORKDIR /src

# The locks come before the code, so that a change of the code does not install everything anew.
COPY requirements.lock requirements-build.lock ./

# The build tools live in a venv of their own. Its pip came with Python, inside the base image, so nothing
# that is not pinned by digest or hash has a say. Wheels only: an sdist would run code here and ask for a
# compiler, so a missing wheel should stop the build with its name.
RUN python -m venv /opt/build \
    && /opt/build/bin/pip install --require-hashes --no-deps --only-binary :all: -r requirements-build.lock

# What runs is installed from the outside, into a venv without pip: whoever breaks in finds no installer.
# pip compiles to bytecode on the way, since nothing can be written at run time.
RUN python -m venv --without-pip /opt/tessera \
    && /opt/build/bin/pip --python /opt/tessera/bin/python install \
        --require-hashes --no-deps --only-binary :all: -r requirements.lock

COPY pyproject.toml README.md ./
COPY api ./api
COPY schemas ./schemas
COPY migrations ./migrations

# A wheel, not an editable install: the image needs no source tree, and the working folder does not matter.
# Without isolation the build uses the locked tools above, and without an index it can fetch no others.
RUN /opt/build/bin/pip wheel --no-deps --no-index --no-build-isolation --wheel-dir /opt/wheel . \
    && /opt/build/bin/pip --python /opt/tessera/bin/python install --no-deps --no-index /opt/wheel/*.whl


FROM ${BASE}

# A fixed number, because volumes remember numbers, and because Kubernetes' runAsNonRoot cannot judge a name.
# libpq looks its user up, so there is an entry, with no password, shell or home of its own.
# The data folder is for the service alone: it may hold the SQLite file.
RUN groupadd --gid 10001 tessera \
    && useradd --uid 10001 --gid 10001 --no-log-init --no-create-home --home-dir /var/lib/tessera \
        --shell /usr/sbin/nologin tessera \
    && install --directory --owner=10001 --group=10001 --mode=0700 /var/lib/tessera

# Owned by root: the service cannot rewrite its own code. The path stays, because a venv cannot be moved.
COPY --from=builder /opt/tessera /opt/tessera

# No TESSERA_PORT, because it would win over the PORT that platforms set; 8000 is the default anyway.
# No secret and no public URL: production refuses to start until somebody gives them.
ENV PATH=/opt/tessera/bin:$PATH \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1 \
    TESSERA_ENV=production \
    TESSERA_HOST=0.0.0.0 \
    TESSERA_DATA_DIR=/var/lib/tessera

# Whoever forgets to mount it still keeps the data, in an anonymous volume, and may run with --read-only.
VOLUME ["/var/lib/tessera"]

USER 10001:10001
WORKDIR /var/lib/tessera
EXPOSE 8000

# By Python itself, since the image has no curl; without urllib, which would ask the proxy of HTTP_PROXY.
# It follows the port as the service does: TESSERA_PORT, then PORT, and an empty one counts as unset.
HEALTHCHECK --interval=15s --timeout=5s --start-period=30s --retries=3 CMD [ \
    "python", "-I", "-c", \
    "import os; from http.client import HTTPConnection; \
    port = os.environ.get('TESSERA_PORT') or os.environ.get('PORT') or 8000; \
    ask = HTTPConnection('127.0.0.1', int(port), timeout=4); \
    ask.request('GET', '/health/ready'); \
    raise SystemExit(ask.getresponse().status != 200)" \
]

# The server lets requests in flight finish within 25 seconds: give it 30 (docker stop --time 30).
STOPSIGNAL SIGTERM

# The exec form, so that the signal reaches the server and not a shell.
ENTRYPOINT ["tessera"]
CMD ["serve"]

# Last, because they change with every commit and would make every layer after them anew.
ARG BASE
ARG VERSION=unknown
ARG REVISION=unknown
LABEL org.opencontainers.image.title="Tessera" \
      org.opencontainers.image.description="User accounts and token login as a REST-only JSON API" \
      org.opencontainers.image.licenses="MIT" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}" \
      org.opencontainers.image.base.name="${BASE}"
