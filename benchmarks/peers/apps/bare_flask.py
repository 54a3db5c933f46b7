"""One Flask route that answers a constant: the floor under every Flask service."""

from flask import Flask, Response

USER = (
    b'{"id":"0199d2a4-7b1e-7c63-9f21-6f0a4b8c2d10","username":"user000002","email":"user000002@example.com",'
    b'"email_verified":false,"display_name":null,"locale":null,"status":"active","roles":[],'
    b'"metadata":{},"app_metadata":{},"created_at":"2026-11-22T09:30:00.000000Z",'
    b'"updated_at":"2026-11-22T09:30:00.000000Z","last_seen_at":"2026-11-22T09:31:00.000000Z"}'
)


def make_app() -> Flask:
    """Return the Flask application that answers the JSON of a user, and does nothing else."""
    app = Flask(__name__)

    @app.get("/me")
    def me() -> Response:
        return Response(USER, mimetype="application/json")

    return app


app = make_app()
