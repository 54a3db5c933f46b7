"""Chores, done when a test says so."""

from flask import Flask

from api.kit.chores import Chores, chores_of


def do_chores(app: Flask) -> None:
    """Do every chore of an app until nothing is left to do."""
    chores = Chores(app, chores_of(app.extensions["tessera"].features))
    while chores.do_next():
        pass
