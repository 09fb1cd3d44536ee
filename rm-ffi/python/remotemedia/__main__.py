"""What ``python -m remotemedia`` runs: the command."""

from remotemedia.cli import main

if __name__ == "__main__":
    main()
