"""`python -m scrimp`."""

from scrimp.cli import main

if __name__ == "__main__":
    main()
