"""Our own files: what the user wrote, and the secrets it refers to.

* `places`      which file is where, folders made private
* `files`       reading without trust, writing without loss
* `check`       the rules a server and the settings must keep (pure)
* `references`  `${secret:KEY}` in header and environment values (pure)
* `load`        one look at the folder: what is good, what is broken
* `store`       what is in force: the last good of everything
* `adhoc`       a server out of a greeting instead of a file
* `secrets`     a server with its references filled in, from the `secretstore`; `vaults` is where
                secrets lie
"""
