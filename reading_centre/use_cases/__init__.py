"""What each command does, without the command line: the web application uses the same functions."""
