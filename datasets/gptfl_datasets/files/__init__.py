"""Files that come from outside: fetched, read and unpickled without trust in what they hold."""
