"""The texts that this dashboard replaces in labml-app 0.5.14's static files as they are served, each with its reason.

A test fails for each patch that no longer fits a newer labml-app.
"""

from typing import NamedTuple

from convmixer.errors import UserError

VERSION = "0.5.14"
INDEX, BUNDLE, STYLE = "index.html", "js/bundle.min.js", "css/style.css"


class PagePatch(NamedTuple):
    """A text of a static file, how often it stands there, and what is served in its place."""

    file: str
    old: str
    count: int
    new: str
    reason: str


PAGE_PATCHES = (
    PagePatch(
        BUNDLE,
        "this.remainingTime=120",
        2,
        "this.remainingTime=0",
        "a page that is open looks for news every 120 s: every second",
    ),
    PagePatch(
        BUNDLE,
        "return 5e3<(new Date).getTime()-e",
        1,
        "return 500<(new Date).getTime()-e",
        "what was loaded within 5 s is not loaded again: half a second",
    ),
    PagePatch(
        BUNDLE,
        "this.smoothedLine=i.default.line().curve(i.default.curveMonotoneX).x((e,t)=>this.xScale(e.step))"
        ".y(e=>this.yScale(e.smoothed)),this.unsmoothedLine=i.default.line().curve(",
        1,
        "this.smoothedLine=i.default.line().defined(e=>e.lastStep==e.lastStep).curve(i.default.curveMonotoneX)"
        ".x((e,t)=>this.xScale(e.step)).y(e=>this.yScale(e.smoothed)),"
        "this.unsmoothedLine=i.default.line().defined(e=>e.lastStep==e.lastStep).curve(",
        "a NaN ends a line for good: a gap, where the server sends a NaN as the point's `last_step`",
    ),
    PagePatch(
        BUNDLE,
        "await this.savePreferences(),this.plotIdx=(0,l.fillPlotPreferences)(this.series,[]),"
        "this.basePlotIdx=(0,l.fillPlotPreferences)(this.baseSeries,[]),this.renderHeaders()",
        1,
        '[this.plotIdx,this.basePlotIdx]=[this.series,this.baseSeries||[]].map(e=>e.map(e=>e.name.startsWith("loss.")'
        "?1:-1)),await this.savePreferences(),this.renderHeaders()",
        "a comparison begins with no metric: with the losses",
    ),
    PagePatch(
        BUNDLE,
        "new Float32Array(t.byteLength/4)",
        1,
        "new Float64Array(t.byteLength/8)",
        "32 bits tell times only to 128 s, and steps to 16.7 million images: 64 bits are sent",
    ),
    PagePatch(BUNDLE, "getFloat32(4*", 1, "getFloat64(8*", "as above"),
    PagePatch(
        BUNDLE,
        "t.value.toExponential(4)",
        1,
        "t.value.toPrecision(4)",
        "the list shows an accuracy of 84.09 % as 8.4090e-1: as 0.8409",
    ),
    PagePatch(
        BUNDLE,
        "Start monitoring your models by adding just two lines of code:",
        1,
        "Start one with python experiment.py. In code of your own, labml's two lines do it:",
        "who has no runs yet is not told how to start one here",
    ),
    PagePatch(
        BUNDLE,
        "Run the following command to start monitoring:",
        1,
        "They are recorded here while a run trains. For a labml server elsewhere:",
        "labml's monitor process is not needed",
    ),
    # Buttons that do what they say.
    PagePatch(
        BUNDLE,
        'e("span",".mt-5",""),new n.NavButton({icon:".fas.fa-power-off",text:"Sign out",onButtonClick:this.onLogOut,'
        "parent:this.constructor.name}).render(e)",
        1,
        'e("span",".mt-5","")',
        "nobody signs in here, so nobody can sign out",
    ),
    *(
        PagePatch(
            BUNDLE, f"this.deleteButton.hide({when})", 1, "this.deleteButton.hide(!0)", "runs are not deleted here"
        )
        for when in (
            "e||!this.isEditMode||this.folder!=a.RunsFolder.DEFAULT&&this.folder!=a.RunsFolder.ARCHIVE",
            "!(this.user.is_complete&&this.run.is_claimed)",
            "!(this.user.is_complete&&this.session.is_claimed)",
            "e||!this.isEditMode",
        )
    ),
    # Steps are training images.
    PagePatch(
        BUNDLE,
        'this.item.step+" Steps"',
        1,
        'this.item.step.toLocaleString("en")+" images"',
        "steps are training images",
    ),
    PagePatch(BUNDLE, '"Step : "+', 1, '"images: "+', "steps are training images"),
    PagePatch(BUNDLE, '"Step Filter:"', 1, '"Images:"', "steps are training images"),
    PagePatch(BUNDLE, 'name:"Start Step"', 1, 'name:"First image"', "steps are training images"),
    PagePatch(
        BUNDLE,
        'new m.StepChangeHandler(this).change()},buttonLabel:"Filter Steps"',
        1,
        'new m.StepChangeHandler(this).change()},buttonLabel:"Show only these"',
        "steps are training images",
    ),
    PagePatch(
        BUNDLE,
        'this.onChangeStepRange.bind(this),buttonLabel:"Filter Steps"',
        1,
        'this.onChangeStepRange.bind(this),buttonLabel:"Show only these"',
        "the hardware's charts are over time, not over steps",
    ),
    PagePatch(
        BUNDLE,
        "this.sparkLines.sort((e,t)=>e.name.localeCompare(t.name))",
        1,
        "this.sparkLines.sort((e,t)=>e.name.localeCompare(t.name,void 0,{numeric:!0}))",
        "layer 10 stands before layer 2",
    ),
    # A run's page says which run it is, and what it reached.
    PagePatch(
        BUNDLE,
        "this.folder=e.folder}updateConfigs()",
        1,
        "this.folder=e.folder,this.results=e.results||[]}updateConfigs()",
        "the page drops what it does not know: `results`, pairs of name and text",
    ),
    PagePatch(
        BUNDLE,
        'e("h3",""+this.run.name),e("h5",""+this.run.comment)',
        1,
        'e("h3",this.run.name+" "+this.run.run_uuid.slice(0,8)),e("h5",""+this.run.comment),'
        'this.run.results.forEach(([t,s])=>e("div.info_list.config.custom",e=>{e("span.key",t),e("span",s)}))',
        "a run's page shows neither its uuid nor its results",
    ),
    # A run's page changes values while the run trains.
    PagePatch(
        INDEX,
        '<script src="/js/bundle.min.js"></script>',
        1,
        '<script src="/js/live_changes.js"></script>\n    <script src="/js/bundle.min.js"></script>',
        "labml dropped the page that changes values of a run: the card is in `live_changes.js`",
    ),
    PagePatch(
        BUNDLE,
        "renderCards(){(0,n.Weya)(this.cardContainer,i=>{let e=this.isRank?",
        1,
        "renderCards(){this.isRank||this.cards.push(new window.LiveChangesCard(this.uuid,this.cardContainer)),"
        "(0,n.Weya)(this.cardContainer,i=>{let e=this.isRank?",
        "as above",
    ),
    PagePatch(
        STYLE,
        ".image-style {\n  width: 75px;\n}",
        1,
        ".image-style {\n  width: 75px;\n}\n"
        ".live-changes .input-content {\n  margin: 5px;\n}\n"
        ".live-changes ul {\n  list-style: none;\n  padding: 0 10px;\n  margin: 0;\n  font-size: 0.8rem;\n}\n"
        ".live-changes .message, .live-changes li {\n  overflow-wrap: anywhere;\n  margin: 5px 0;\n}\n",
        "as above",
    ),
    # The page of a comparison shows the configs that differ.
    PagePatch(
        BUNDLE,
        'e("a",".title.clickable",this.baseRun.name+" ",',
        1,
        'e("a",".title.clickable",this.baseRun.name+" "+this.baseRun.run_uuid.slice(0,8),',
        "two runs of one name are told apart by their uuids",
    ),
    PagePatch(
        BUNDLE,
        'window.open("/run/"+this.baseRun.run_uuid,"_blank")}}})})})}',
        1,
        'window.open("/run/"+this.baseRun.run_uuid,"_blank")}}})}),null!=this.baseRun&&this.renderDifferences(e)})}'
        "renderDifferences(e){let t=e=>new Map(e.configs.filter(e=>!e.isMeta&&(0<=e.order||e.isExplicitlySpecified))"
        ".map(e=>[e.key,''===e.computed?e.value:e.computed])"
        ".map(([e,t])=>[e,'string'==typeof t?t:JSON.stringify(t)])),[s,i]=[this.run,this.baseRun].map(t),"
        "n=[...new Set([...s.keys(),...i.keys()])].filter(e=>s.get(e)!==i.get(e)).sort();"
        'e("table",".differences",e=>{e("tr",e=>{e("th",n.length?"configs that differ":"no configs differ"),'
        'n.length&&[this.run,this.baseRun].forEach(t=>e("th",t.run_uuid.slice(0,8)))}),'
        'n.forEach(t=>e("tr",e=>{e("td",t),[s,i].forEach(s=>e("td",s.get(t)||""))}))})}',
        "a comparison shows curves only",
    ),
    PagePatch(
        STYLE,
        ".no-scroll {\n  max-width: 100%;\n}",
        1,
        ".no-scroll {\n  max-width: 100%;\n}\n"
        ".no-scroll pre {\n  white-space: pre-wrap;\n  overflow-wrap: anywhere;\n}\n"
        ".differences {\n  display: block;\n  font-size: 0.8rem;\n  margin: 1em 0;\n}\n"
        ".differences th, .differences td {\n  padding: 2px 20px 2px 0;\n  overflow-wrap: anywhere;\n}",
        "long lines of output are cut",
    ),
    # Nothing is cut, and no label lies over a line.
    PagePatch(
        BUNDLE,
        "10<s.length?s.slice(Math.max(s.length-10,1)):s",
        3,
        "20<s.length?s.slice(Math.max(s.length-20,1)):s",
        "a run's page shows 10 lines of output, which cuts the table at its end",
    ),
    PagePatch(
        STYLE,
        "width: 120px;\n  opacity: 0.7;\n  white-space: nowrap;\n  text-overflow: ellipsis;",
        1,
        "width: min(230px, 40vw);\n  opacity: 0.7;\n  overflow-wrap: anywhere;",
        "names of keys are cut at 120 pixels",
    ),
    PagePatch(
        STYLE,
        ".configs .config .combined {\n  width: 330px;\n}",
        1,
        ".configs .config .combined {\n  max-width: min(530px, 90vw);\n  overflow-wrap: anywhere;\n}",
        "values are cut at 330 pixels",
    ),
    PagePatch(BUNDLE, "this.axisSize=30", 3, "this.axisSize=45", "numbers beside a chart are cut"),
    PagePatch(
        BUNDLE,
        'this.specifier=void 0!==e.specifier?e.specifier:""',
        1,
        'this.specifier=e.specifier||"~r"',
        "260 stands beside a chart as 2.6e+2",
    ),
    PagePatch(
        BUNDLE,
        "this.chartWidth=Math.min(300,Math.round(.6*e.width))",
        2,
        "this.chartWidth=Math.min(300,Math.round(.4*e.width))",
        "the names of metrics lie over their small curves",
    ),
    PagePatch(BUNDLE, "this.rowWidth=Math.min(450,", 2, "this.rowWidth=Math.min(560,", "as above"),
    PagePatch(
        BUNDLE, "2*this.titleWidth+this.chartWidth,450)", 2, "2*this.titleWidth+this.chartWidth,560)", "as above"
    ),
)


def patched(file: str, content: bytes) -> bytes:
    """A static file as it is served.

    Raises:
        UserError: a text to replace is not there: another version of labml-app.
    """
    for patch in (p for p in PAGE_PATCHES if p.file == file):
        if content.count(patch.old.encode()) != patch.count:
            raise UserError(f"the dashboard needs labml-app {VERSION}: its {file} is of another version")
        content = content.replace(patch.old.encode(), patch.new.encode())
    return content
