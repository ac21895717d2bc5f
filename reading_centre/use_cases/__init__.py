"""Functions behind the commands, without the command line. The web application uses them, too."""
