"""When an accepted answer is silently wrong: the file contradicts it, or says that it is damaged.

A judge gets the valid answer, the accepted one, which differs and carries no warning, the changed
content and the name of the change; it returns a reason, or "" if nobody could have told.
"""
