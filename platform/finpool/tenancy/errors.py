"""Errors of tenants and projects."""

from finpool.kernel.errors import AlreadyExists, InvalidRequest, NotFound


class TenantNotFound(NotFound):
    """No such tenant exists, or it is not the caller's own; both cases give the same error."""

    code = "tenant_not_found"

    def __init__(self, tenant_id: str) -> None:
        super().__init__(f"The tenant '{tenant_id}' does not exist.", param="tenant_id")


class ProjectNotFound(NotFound):
    """The tenant has no such project; a project of another tenant gives the same error."""

    code = "project_not_found"

    def __init__(self, project_id: str) -> None:
        super().__init__(f"The project '{project_id}' does not exist in this tenant.", param="project_id")


class TenantAlreadyExists(AlreadyExists):
    """The tenant's id is taken; an id is never reused."""

    def __init__(self, tenant_id: str) -> None:
        super().__init__(f"A tenant '{tenant_id}' exists already.", param="id")


class ProjectAlreadyExists(AlreadyExists):
    """The project's id is taken within this tenant; an id is never reused."""

    def __init__(self, project_id: str) -> None:
        super().__init__(f"A project '{project_id}' exists already in this tenant.", param="id")


class ModelNotOffered(InvalidRequest):
    """The contract names a model that the catalogue lacks; such a grant would have no effect, so it is refused."""

    code = "model_not_offered"

    def __init__(self, model_ids: list[str]) -> None:
        super().__init__(f"The catalogue holds no model {', '.join(model_ids)}.", param="models")
