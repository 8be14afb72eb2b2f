"""`python -m dvt` is the `dvt` command."""

from dvt.cli.main import main

if __name__ == "__main__":
    main()
