"""The queue's producers: the Python clients, batches, the command line, the HTTP gateway."""

if __name__ == "producers":  # by the folder's name, from the root of a checkout
    from deploy.folder_name import AsyncOpenfall as AsyncOpenfall
    from deploy.folder_name import Openfall as Openfall
