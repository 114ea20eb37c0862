"""The command that needs other processes than this one."""
