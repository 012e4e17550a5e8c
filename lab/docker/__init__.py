"""How the image of the Docker runtime is made: Dockerfile, build-image.sh, base-image.sh, and which wheels go in."""
