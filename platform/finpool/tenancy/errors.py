"""What can be wrong when tenants and projects are asked for or changed."""

from finpool.kernel.errors import AlreadyExists, InvalidRequest, NotFound


class TenantNotFound(NotFound):
    """No such tenant, or not the caller's own; both read the same."""

    code = "tenant_not_found"

    def __init__(self, tenant_id: str) -> None:
        super().__init__(f"The tenant '{tenant_id}' does not exist.", param="tenant_id")


class ProjectNotFound(NotFound):
    """No such project in this tenant; a project of another tenant reads the same."""

    code = "project_not_found"

    def __init__(self, project_id: str) -> None:
        super().__init__(f"The project '{project_id}' does not exist in this tenant.", param="project_id")


class TenantAlreadyExists(AlreadyExists):
    """The tenant's id is taken; ids are never used again."""

    def __init__(self, tenant_id: str) -> None:
        super().__init__(f"A tenant '{tenant_id}' exists already.", param="id")


class ProjectAlreadyExists(AlreadyExists):
    """The project's id is taken within this tenant; ids are never used again."""

    def __init__(self, project_id: str) -> None:
        super().__init__(f"A project '{project_id}' exists already in this tenant.", param="id")


class ModelNotOffered(InvalidRequest):
    """A tenant is granted a model that the catalogue does not hold: refused, because it would grant nothing."""

    code = "model_not_offered"

    def __init__(self, model_ids: list[str]) -> None:
        super().__init__(f"The catalogue holds no model {', '.join(model_ids)}.", param="models")
