"""The shapes that cross the wire: marshmallow, and nothing else."""
