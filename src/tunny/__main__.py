"""`python -m tunny` is the same program as `tunny`."""

from tunny.cli import main

if __name__ == "__main__":
    main()
